file(GLOB query_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/gateway/query/*.c)
# The engine itself, between fakes for upstream and the kernel.
tungate_test(test_query tg_policy tg_dns tg_fakeip tg_conf tg_base)
if(TARGET test_query)
  target_sources(test_query PRIVATE ${CMAKE_CURRENT_LIST_DIR}/query_stage.c
    ${query_sources} ${CMAKE_SOURCE_DIR}/gateway/generation.c)
endif()
