# The rooms of serve/ before a query engine that the test plays.
foreach(name test_serve_tcp test_serve_udp test_serve_tun)
  tungate_test(${name} tg_tun tg_loop tg_dns tg_base)
  if(TARGET ${name})
    target_sources(${name} PRIVATE ${CMAKE_CURRENT_LIST_DIR}/serve_stage.c ${CMAKE_CURRENT_LIST_DIR}/hand_clock.c
      ${CMAKE_SOURCE_DIR}/gateway/serve/socket.c ${CMAKE_SOURCE_DIR}/gateway/serve/out.c
      ${CMAKE_SOURCE_DIR}/gateway/serve/in.c ${CMAKE_SOURCE_DIR}/gateway/serve/udp.c ${CMAKE_SOURCE_DIR}/gateway/serve/tcp.c
      ${CMAKE_SOURCE_DIR}/gateway/serve/tun.c)
  endif()
endforeach()
if(TARGET test_serve_tcp)
  target_compile_definitions(test_serve_tcp PRIVATE SERVE_TCP_IDLE_MS=1000)
endif()
