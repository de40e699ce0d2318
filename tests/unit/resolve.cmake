tungate_test(test_resolve tg_resolve tg_dns tg_loop tg_base)
target_sources(test_resolve PRIVATE ${CMAKE_CURRENT_LIST_DIR}/resolve_upstream.c)
# The test counts what the query path allocates.
target_link_options(test_resolve PRIVATE -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc)
