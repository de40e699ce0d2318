# The files of servers alone, on a stage that stands for flights, groups and transports.
set(server_files server_stage.c)
foreach(file server address address_file health)
  list(APPEND server_files ${CMAKE_SOURCE_DIR}/gateway/resolve/${file}.c)
endforeach()
foreach(test test_server)
  tungate_test(${test} tg_egress tg_dns tg_loop tg_base PkgConfig::JSONC m)
  target_sources(${test} PRIVATE ${server_files})
endforeach()
