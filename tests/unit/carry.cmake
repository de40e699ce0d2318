# Carrying on the stage of the query tests, which plays upstream and the writer.
tungate_test(test_carry tg_policy tg_dns tg_fakeip tg_conf tg_tun tg_base)
if(TARGET test_carry)
  target_sources(test_carry PRIVATE ${CMAKE_CURRENT_LIST_DIR}/query_stage.c
    ${CMAKE_SOURCE_DIR}/gateway/carry/carry.c ${CMAKE_SOURCE_DIR}/gateway/carry/verdict.c
    ${CMAKE_SOURCE_DIR}/gateway/query/query.c ${CMAKE_SOURCE_DIR}/gateway/query/parked.c
    ${CMAKE_SOURCE_DIR}/gateway/generation.c)
endif()
tungate_test(test_inject tg_netlink tg_tun tg_base)
if(TARGET test_inject)
  target_sources(test_inject PRIVATE ${CMAKE_SOURCE_DIR}/gateway/carry/inject.c)
endif()
file(GLOB sniff_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/gateway/carry/sniff*.c)
foreach(sniff stream quic clients)
  tungate_test(test_sniff_${sniff})
  if(TARGET test_sniff_${sniff})
    target_sources(test_sniff_${sniff} PRIVATE ${CMAKE_CURRENT_LIST_DIR}/sniff_stage.c ${sniff_sources})
    target_link_libraries(test_sniff_${sniff} PRIVATE PkgConfig::CRYPTO)
  endif()
endforeach()
tungate_threads(test_sniff_quic)
