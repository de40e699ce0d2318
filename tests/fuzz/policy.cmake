tungate_fuzz(fuzz_leases tg_policy)
tungate_fuzz(fuzz_records_json tg_policy)
