# shellcheck shell=bash
# Sourced by test.sh and .ci/run: runs named steps, all of them whatever fails, and prints what each took beside its budget.
budget_rows=() budget_failed=0

step() { # NAME BUDGET_SECONDS COMMAND...
  local name=$1 budget=$2 start=$SECONDS verdict=ok took
  echo "=== $name (budget $budget s)"
  "${@:3}" || { verdict=FAILED budget_failed=1; }
  took=$((SECONDS - start))
  if ((took > budget)); then
    echo "warning: $name took $took s, more than its budget of $budget s" >&2
    verdict+=", over budget"
  fi
  budget_rows+=("$name|$took|$budget|$verdict")
  echo "=== $name: $took s, $verdict"
}

budget_table() {
  local row name took budget verdict
  printf '\n%-28s %8s %8s  %s\n' suite seconds budget verdict
  for row in "${budget_rows[@]}"; do
    IFS='|' read -r name took budget verdict <<<"$row"
    printf '%-28s %8s %8s  %s\n' "$name" "$took" "$budget" "$verdict"
  done
  printf '%-28s %8s\n\n' total "$SECONDS"
}
