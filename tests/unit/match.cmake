tungate_test(test_matcher tg_match)
tungate_test(test_addresses tg_match)
tungate_test(test_image tg_match)
tungate_test(test_match_memory tg_match)
# It lets each allocation fail.
target_link_options(test_match_memory PRIVATE -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc)
tungate_test(test_patterns tg_match)
tungate_threads(test_patterns)
