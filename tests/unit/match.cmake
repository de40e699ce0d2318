tungate_test(test_matcher tg_match)
tungate_test(test_addresses tg_match)
tungate_test(test_image tg_match)
tungate_test(test_patterns tg_match)
