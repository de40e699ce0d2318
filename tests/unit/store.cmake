tungate_test(test_store tg_fakeip tg_dns)
if(TARGET test_store)
  target_sources(test_store PRIVATE ${CMAKE_SOURCE_DIR}/gateway/store.c)
endif()
