# Carrying on the stage of the query tests, which plays upstream and the writer.
tungate_test(test_carry tg_policy tg_dns tg_fakeip tg_conf tg_tun tg_base)
if(TARGET test_carry)
  target_sources(test_carry PRIVATE ${CMAKE_CURRENT_LIST_DIR}/query_stage.c
    ${CMAKE_SOURCE_DIR}/gateway/carry/carry.c ${CMAKE_SOURCE_DIR}/gateway/carry/verdict.c
    ${CMAKE_SOURCE_DIR}/gateway/query/query.c ${CMAKE_SOURCE_DIR}/gateway/query/parked.c
    ${CMAKE_SOURCE_DIR}/gateway/generation.c)
endif()
tungate_test(test_inject tg_netlink tg_tun tg_base)
if(TARGET test_inject)
  target_sources(test_inject PRIVATE ${CMAKE_SOURCE_DIR}/gateway/carry/inject.c)
endif()
