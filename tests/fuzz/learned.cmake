tungate_fuzz(fuzz_learned tg_learned)
