tungate_test(test_policy tg_policy)
tungate_test(test_leases tg_policy)
tungate_test(test_generation tg_generation tg_conf)
