"""A function made ready to run: its interpreter asked, its layers merged, its commands known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lambdatrace.harness import sandbox_network
from lambdatrace.harness.function import (
    LATEST,
    Function,
    Interpreter,
    find_interpreter,
    inspect_interpreter,
)
from lambdatrace.harness.layers import external_extensions, merge_layers
from lambdatrace.harness.mounts import TASK_ROOT
from lambdatrace.harness.processes import Launch
from lambdatrace.harness.supervisor import LOG_FD
from lambdatrace.harness.variables import Surroundings, extension_variables, runtime_variables

if TYPE_CHECKING:
    from lambdatrace.harness.temp_dirs import TempDirs

_BOOTSTRAP = Path(__file__).with_name("runtime_bootstrap.py")


@dataclass(frozen=True)
class EnvironmentLaunch:
    """How to start one execution environment: its external extensions first, then its runtime."""

    extensions: dict[str, Launch]
    runtime: Launch


@dataclass(frozen=True)
class Deployment:
    """A function with everything that is the same in all its environments.

    `task_root` is where the function finds its code: /var/task where that can be mounted.
    `empty_dir` is what /opt is without layers.
    """

    function: Function
    interpreter: Interpreter
    surroundings: Surroundings
    layers_dir: Path | None
    is_tmp_private: bool
    task_root: str
    empty_dir: Path
    version: str = LATEST

    @property
    def runtime(self) -> str:
        """`python3.12`: what the function is told it runs on."""
        return self.function.runtime or f"python{self.interpreter.version}"

    @property
    def region(self) -> str:
        """The AWS region the function believes to be in."""
        return self.surroundings.region

    @property
    def opt(self) -> str:
        """Where the function finds its layers: /opt where that can be mounted."""
        if self.layers_dir is None:
            return "/opt"
        return "/opt" if self._mounts_opt else str(self.layers_dir)

    def environment_launch(
        self,
        *,
        api_port: int,
        log_stream: str,
        temp_dir: Path,
        initialization_type: str,
        groups: tuple[str, ...] = (),
        log_socket: str = "",
    ) -> EnvironmentLaunch:
        """The commands, variables and folders of one environment whose APIs are on `api_port`.

        `log_socket` is where the workers of a managed environment write.
        """
        variables = runtime_variables(
            self.function,
            self.interpreter,
            self.surroundings,
            runtime_api=f"{sandbox_network.LOOPBACK}:{api_port}",
            log_stream=log_stream,
            log_fd=LOG_FD,
            root=self.task_root,
            opt=self.opt,
            temp_dir="" if self.is_tmp_private else str(temp_dir),
            initialization_type=initialization_type,
            version=self.version,
            log_socket=log_socket,
        )
        is_below_tmp = log_socket.startswith("/tmp/")  # noqa: S108 - Lambda's own
        socket_folder = str(Path(log_socket).parent) if is_below_tmp else ""
        found = external_extensions(self.layers_dir) if self.layers_dir else []
        own = extension_variables(variables)
        commands = {path.name: [f"{self.opt}/extensions/{path.name}"] for path in found}
        address = sandbox_network.address_of(api_port) if self.is_tmp_private else ""
        return EnvironmentLaunch(
            {
                name: self._launch(argv, own, temp_dir, address, groups, "")
                for name, argv in commands.items()
            },
            self._launch(
                self._runtime_command(variables),
                variables,
                temp_dir,
                address,
                groups,
                socket_folder,
            ),
        )

    @property
    def _mounts_opt(self) -> bool:
        """/opt can be covered with the layers: it exists, and nothing that runs lives in it."""
        wanted = [*_runtime_folders(self.function, self.interpreter), self.task_root]
        return self.is_tmp_private and Path("/opt").is_dir() and not _is_one_below("/opt", wanted)

    def _runtime_command(self, variables: dict[str, str]) -> list[str]:
        """The runtime client; behind AWS_LAMBDA_EXEC_WRAPPER if the function has one.

        A wrapper gets the interpreter and a script as arguments, as on AWS, where wrappers put
        interpreter options between the two, and the script reads _HANDLER after the wrapper may
        have changed it. Source: AWS Lambda developer guide, "Modifying the runtime environment".
        """
        wrapper = variables.get("AWS_LAMBDA_EXEC_WRAPPER")
        if wrapper:
            return [wrapper, self.function.python, str(_BOOTSTRAP)]
        return [self.function.python, "-m", "awslambdaric", self.function.handler]

    def _launch(
        self,
        argv: list[str],
        variables: dict[str, str],
        temp_dir: Path,
        address: str,
        groups: tuple[str, ...],
        socket_folder: str,
    ) -> Launch:
        opt = str(self.layers_dir or self.empty_dir) if self._mounts_opt else ""
        root, code_dir = self.task_root, str(self.function.code_dir)
        task = code_dir if root == TASK_ROOT and self.is_tmp_private else ""
        return Launch(
            argv=argv,
            environment=variables,
            working_dir=root,
            tmp=str(temp_dir),
            opt=opt,
            task=task,
            keep=(*self._folders_below_tmp(), *((socket_folder,) if socket_folder else ())),
            sandbox_address=address,
            # The root cannot be covered, and /tmp with it would be read-only.
            read_only=(*self._code_folders(), *(("/opt",) if opt else ())),
            tmp_mb=self.function.ephemeral_storage_mb,
            groups=groups,
        )

    def _code_folders(self) -> tuple[str, ...]:
        """Where the code is seen: at the task root, and where it is on this machine."""
        code_dir, root = str(self.function.code_dir), self.task_root
        is_hidden = self.function.code_dir.is_relative_to("/tmp")  # noqa: S108 - Lambda's own
        seen = {root} if root == code_dir or is_hidden else {root, code_dir}
        return tuple(sorted(seen - {"/"}))

    def _folders_below_tmp(self) -> tuple[str, ...]:
        """What must stay visible when /tmp becomes private: code, interpreter, wrapper."""
        wanted = [*_runtime_folders(self.function, self.interpreter), self.task_root]
        if self.layers_dir and not self._mounts_opt:
            wanted.append(str(self.layers_dir))
        wrapper = self.function.environment.get("AWS_LAMBDA_EXEC_WRAPPER", "")
        if wrapper:
            wanted.append(str(Path(wrapper).parent))
        below = sorted({f for f in wanted if f.startswith("/tmp/")})  # noqa: S108 - Lambda's own
        folders = [f for f in below if Path(f).is_dir()]
        return tuple(f for f in folders if not any(str(p) in folders for p in Path(f).parents))


def _runtime_folders(function: Function, interpreter: Interpreter) -> list[str]:
    """What the runtime is loaded from."""
    python = str(Path(function.python).absolute().parent)
    return [str(_BOOTSTRAP.parent), *interpreter.folders, python]


def _is_one_below(folder: str, paths: list[str]) -> bool:
    return any(Path(folder) in (Path(path), *Path(path).parents) for path in paths)


def _task_root(function: Function, interpreter: Interpreter) -> str:
    """/var/task, unless what is to run would be covered by it or code is linked into the folder."""
    folder = function.code_dir
    covers = _is_one_below(TASK_ROOT, _runtime_folders(function, interpreter))
    if covers or folder == Path("/") or any(map(_leads_out, folder.iterdir())):
        return str(folder)
    return TASK_ROOT


def _leads_out(path: Path) -> bool:
    """It is a link that would lead nowhere if its folder were elsewhere, and /tmp another."""
    if not path.is_symlink():
        return False
    target = path.readlink()
    if target.is_absolute():
        return target.is_relative_to("/tmp")  # noqa: S108 - Lambda's own
    return not path.resolve().is_relative_to(path.parent.resolve())


def deploy(
    function: Function,
    surroundings: Surroundings,
    temp_dirs: TempDirs,
    *,
    is_tmp_private: bool,
    has_task_root: bool,
    version: str = LATEST,
) -> Deployment:
    """Makes a function ready. Raises FunctionConfigurationError for a bad interpreter or layer."""
    if function.python == function.runtime:  # none was there when it was made
        function = replace(function, python=find_interpreter(function.runtime))
    interpreter = inspect_interpreter(function.python)
    task_root = _task_root(function, interpreter) if has_task_root else str(function.code_dir)
    layers_dir = None
    if function.layers:
        layers_dir = merge_layers(function.layers, temp_dirs.make_unique(f"{function.name}-layers"))
    return Deployment(
        function,
        interpreter,
        surroundings,
        layers_dir,
        is_tmp_private,
        task_root,
        temp_dirs.empty,
        version,
    )
