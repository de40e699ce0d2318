tungate_test(test_cache tg_cache)
tungate_test(test_cache_queues tg_cache m)
tungate_test(test_cache_threads tg_cache)
tungate_threads(test_cache_threads)
