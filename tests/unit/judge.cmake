tungate_test(test_judge tg_dns tg_base)
target_sources(test_judge PRIVATE ${CMAKE_SOURCE_DIR}/gateway/resolve/judge.c)
tungate_threads(test_judge)
