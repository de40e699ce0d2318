tungate_test(test_control tg_control PkgConfig::URING)
target_sources(test_control PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/control_daemon.c)

# The command line as it is, but for the daemon behind it.
tungate_test(test_cmd tg_control tg_conf tg_lists PkgConfig::URING PkgConfig::JSONC)
file(GLOB command_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/gateway/cmd_*.c)
target_sources(test_cmd PRIVATE ${command_sources} ${CMAKE_SOURCE_DIR}/gateway/main.c
  ${CMAKE_SOURCE_DIR}/gateway/client.c ${CMAKE_SOURCE_DIR}/gateway/screen.c
  ${CMAKE_CURRENT_SOURCE_DIR}/control_daemon.c)
target_compile_definitions(test_cmd PRIVATE SOURCE_DIR="${CMAKE_SOURCE_DIR}")
set_source_files_properties(${CMAKE_SOURCE_DIR}/gateway/main.c
  PROPERTIES COMPILE_DEFINITIONS main=tungate_main COMPILE_OPTIONS -Wno-missing-prototypes)
