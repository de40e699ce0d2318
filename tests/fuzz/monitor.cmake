tungate_fuzz(fuzz_monitor tg_netlink)
