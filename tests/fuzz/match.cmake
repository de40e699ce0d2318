tungate_fuzz(fuzz_patterns tg_match)
tungate_fuzz(fuzz_image tg_match)
