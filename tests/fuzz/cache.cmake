tungate_fuzz(fuzz_cache_file tg_cache PkgConfig::ZSTD)
