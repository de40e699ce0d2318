tungate_platform(test_table tg_netlink tg_base PkgConfig::CMOCKA)
tungate_platform(test_writer tg_netlink tg_base PkgConfig::CMOCKA)
tungate_threads(platform_test_writer)
tungate_platform(test_commit tg_netlink tg_base PkgConfig::CMOCKA)
