tungate_test(test_addr tg_base)
