tungate_test(test_store tg_fakeip tg_dns tg_base)
if(TARGET test_store)
  target_sources(test_store PRIVATE ${CMAKE_SOURCE_DIR}/gateway/store.c)
  # so that a process can be killed in each of them
  target_link_options(test_store PRIVATE -Wl,--wrap=write,--wrap=rename,--wrap=ftruncate,--wrap=fdatasync)
endif()
