tungate_test(test_control tg_control PkgConfig::URING)
target_sources(test_control PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/control_daemon.c)
