tungate_fuzz(fuzz_patterns tg_match)
