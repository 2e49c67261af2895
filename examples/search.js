// The scores of Sphinx's search, where a guide comes before pages that have a word of each subject.
// It is a var, since Sphinx's own script declares the name again.
var Scorer = {
  score: ([page, title, anchor, descr, score]) =>
    /questions|keras_tuner_names|contributing/.test(page) ? score - 6 : score,
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
