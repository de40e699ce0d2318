tungate_test(test_loop tg_loop PkgConfig::URING)
tungate_test(test_loop_timer tg_loop PkgConfig::URING)
tungate_test(test_loop_threads tg_loop PkgConfig::URING)
tungate_threads(test_loop_threads)
