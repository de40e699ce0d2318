foreach(test test_resolve test_resolve_flight)
  tungate_test(${test} tg_resolve tg_dns tg_loop tg_base)
  target_sources(${test} PRIVATE ${CMAKE_CURRENT_LIST_DIR}/resolve_stage.c ${CMAKE_CURRENT_LIST_DIR}/resolve_upstream.c)
endforeach()
tungate_threads(test_resolve_flight)
# It counts what the query path allocates.
target_link_options(test_resolve_flight PRIVATE -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc)
