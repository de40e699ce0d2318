tungate_fuzz(fuzz_list_plain tg_policy)
tungate_fuzz(fuzz_leases tg_policy)
