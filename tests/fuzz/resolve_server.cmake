tungate_fuzz(fuzz_addresses tg_dns tg_loop tg_base PkgConfig::JSONC)
foreach(file address address_file)
  target_sources(fuzz_addresses PRIVATE ${CMAKE_SOURCE_DIR}/gateway/resolve/${file}.c)
endforeach()
