tungate_test(test_tun_packet tg_tun)
tungate_test(test_tun_answers tg_tun tg_base)
