tungate_test(test_tls tg_base PkgConfig::SSL PkgConfig::CRYPTO)
target_sources(test_tls PRIVATE ${CMAKE_CURRENT_LIST_DIR}/tls_stage.c
  ${CMAKE_SOURCE_DIR}/gateway/transport/tls.c ${CMAKE_SOURCE_DIR}/gateway/transport/tls_context.c
  ${CMAKE_SOURCE_DIR}/gateway/transport/tls_store.c ${CMAKE_SOURCE_DIR}/gateway/transport/tls_verify.c)
tungate_threads(test_tls)
