tungate_platform(test_ipset tg_netlink tg_base PkgConfig::CMOCKA)
