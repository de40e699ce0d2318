tungate_fuzz(fuzz_lists tg_lists)
