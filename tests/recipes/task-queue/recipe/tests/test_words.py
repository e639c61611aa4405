def test_the_words_of_a_document_are_counted(do):
    do("keep", "poem", "so much depends upon")
    assert do("count_words", "poem") == ("SUCCESS", 4)
