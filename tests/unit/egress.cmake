foreach(test test_egress_dial)
  tungate_test(${test} tg_egress tg_loop tg_base)
  target_sources(${test} PRIVATE ${CMAKE_CURRENT_LIST_DIR}/egress_stage.c)
endforeach()
