# The codec alone, before a connection that is the target's own.
tungate_fuzz(fuzz_codec_dns tg_base)
target_sources(fuzz_codec_dns PRIVATE ${CMAKE_SOURCE_DIR}/gateway/transport/codec_dns.c)
