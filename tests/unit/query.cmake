file(GLOB query_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/gateway/query/*.c)
# The engine itself, between fakes for upstream and the kernel.
foreach(test test_query test_query_https test_query_lease test_query_carry test_query_local test_query_cache test_query_check)
  tungate_test(${test} tg_policy tg_dns tg_fakeip tg_conf tg_base)
  if(TARGET ${test})
    target_sources(${test} PRIVATE ${CMAKE_CURRENT_LIST_DIR}/query_stage.c
      ${query_sources} ${CMAKE_SOURCE_DIR}/gateway/generation.c)
  endif()
endforeach()
