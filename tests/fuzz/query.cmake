tungate_fuzz(fuzz_query tg_policy tg_dns tg_fakeip tg_conf tg_base)
target_sources(fuzz_query PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit/query_stage.c
  ${CMAKE_SOURCE_DIR}/gateway/query/query.c ${CMAKE_SOURCE_DIR}/gateway/query/parked.c
  ${CMAKE_SOURCE_DIR}/gateway/generation.c)
