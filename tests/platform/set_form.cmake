tungate_platform(test_set_form tg_netlink tg_base PkgConfig::CMOCKA)
