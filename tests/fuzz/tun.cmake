tungate_fuzz(fuzz_tun_packet tg_tun)
