tungate_fuzz(fuzz_control tg_control PkgConfig::URING)
