foreach(test test_resolve test_resolve_flight test_resolve_strategy test_resolve_cache test_resolve_storm
    test_lookup)
  tungate_test(${test} tg_resolve tg_dns tg_loop tg_base)
  target_sources(${test} PRIVATE ${CMAKE_CURRENT_LIST_DIR}/resolve_stage.c
    ${CMAKE_CURRENT_LIST_DIR}/hand_clock.c ${CMAKE_CURRENT_LIST_DIR}/resolve_upstream.c)
endforeach()
tungate_threads(test_resolve_flight)
# These answer for the servers themselves.
foreach(test test_resolve_strategy test_resolve_cache test_resolve_storm test_lookup)
  target_sources(${test} PRIVATE ${CMAKE_CURRENT_LIST_DIR}/resolve_fake.c)
endforeach()
# It counts what the query path allocates.
target_link_options(test_resolve_flight PRIVATE -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc)
