# The engine itself, between fakes for upstream and the kernel.
tungate_test(test_query tg_policy tg_dns tg_fakeip tg_conf tg_base)
if(TARGET test_query)
  target_sources(test_query PRIVATE ${CMAKE_CURRENT_LIST_DIR}/query_stage.c
    ${CMAKE_SOURCE_DIR}/gateway/query/query.c ${CMAKE_SOURCE_DIR}/gateway/query/parked.c
    ${CMAKE_SOURCE_DIR}/gateway/generation.c)
endif()
