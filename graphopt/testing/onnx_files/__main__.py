from graphopt.testing.onnx_files.search import main

main()
