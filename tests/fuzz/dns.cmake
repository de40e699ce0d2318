tungate_fuzz(fuzz_dns_query tg_dns)
tungate_fuzz(fuzz_dns_response tg_dns)
tungate_fuzz(fuzz_dns_svcb tg_dns)
tungate_fuzz(fuzz_rdata tg_dns)
