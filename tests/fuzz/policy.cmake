tungate_fuzz(fuzz_leases tg_policy)
