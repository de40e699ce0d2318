# A real loop, real sockets on loop-back, a peer that the test plays.
foreach(name test_transport_udp test_transport_conn test_transport_tls)
  tungate_test(${name} tg_transport)
  target_sources(${name} PRIVATE ${CMAKE_CURRENT_LIST_DIR}/transport_stage.c ${CMAKE_CURRENT_LIST_DIR}/hand_clock.c)
endforeach()
target_sources(test_transport_tls PRIVATE ${CMAKE_CURRENT_LIST_DIR}/tls_stage.c)
target_link_libraries(test_transport_tls PRIVATE PkgConfig::SSL PkgConfig::CRYPTO)
