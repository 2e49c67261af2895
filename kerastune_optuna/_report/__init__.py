"""What users see of a search, while it runs and later."""

from kerastune_optuna._report.facts import Facts as Facts
from kerastune_optuna._report.live import progress_for as progress_for
from kerastune_optuna._report.page import plot as plot
from kerastune_optuna._report.page import write_page as write_page
from kerastune_optuna._report.progress import Lines as Lines
from kerastune_optuna._report.progress import Plan as Plan
from kerastune_optuna._report.progress import Progress as Progress
from kerastune_optuna._report.progress import Told as Told
from kerastune_optuna._report.summary import summary as summary
from kerastune_optuna._report.summary import summary_html as summary_html
from kerastune_optuna._report.table import results as results
from kerastune_optuna._report.text import drawn as drawn
from kerastune_optuna._report.text import params_line as params_line
from kerastune_optuna._report.text import printable as printable
from kerastune_optuna._report.text import say as say
from kerastune_optuna._report.text import short as short
from kerastune_optuna._report.text import table_of_trials as table_of_trials
