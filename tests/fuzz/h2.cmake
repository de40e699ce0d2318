# The codec alone, before a connection that is the target's own.
tungate_fuzz(fuzz_h2 tg_base PkgConfig::NGHTTP2)
target_sources(fuzz_h2 PRIVATE ${CMAKE_SOURCE_DIR}/gateway/transport/codec_h2.c ${CMAKE_SOURCE_DIR}/gateway/transport/codec_h2_request.c)
