tungate_fuzz(fuzz_tls tg_base PkgConfig::SSL PkgConfig::CRYPTO)
target_sources(fuzz_tls PRIVATE
  ${CMAKE_SOURCE_DIR}/gateway/transport/tls.c ${CMAKE_SOURCE_DIR}/gateway/transport/tls_context.c
  ${CMAKE_SOURCE_DIR}/gateway/transport/tls_store.c ${CMAKE_SOURCE_DIR}/gateway/transport/tls_verify.c)
