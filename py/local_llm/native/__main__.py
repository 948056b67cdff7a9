"""`python -m local_llm.native`"""

from local_llm.native.cli import main

raise SystemExit(main())
