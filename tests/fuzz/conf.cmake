tungate_fuzz(fuzz_conf tg_conf)
