def test_document_and_results_are_removed(do):
    assert do("remove", "minutes") == ("SUCCESS", "minutes")
    assert do("read", "minutes")[0] == "FAILURE"
