tungate_test(test_cache tg_cache)
