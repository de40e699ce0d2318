file(GLOB query_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/gateway/query/*.c)
tungate_fuzz(fuzz_query tg_policy tg_dns tg_fakeip tg_conf tg_base)
target_sources(fuzz_query PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit/query_stage.c
  ${query_sources} ${CMAKE_SOURCE_DIR}/gateway/generation.c)
